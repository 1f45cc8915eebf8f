"""What an artifact runs on: this machine, unicorn, QEMU; its files, and the cycles that they take."""
