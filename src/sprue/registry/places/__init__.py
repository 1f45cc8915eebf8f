"""One file for each kind of place. Each ends in `SCHEMES` and `connect`, and is found by its URL's scheme."""
