"""sprue: a build system for trained models. One source, many targets, one frozen and proven bundle."""

__version__ = "0.1.0"
