"""The layers of every published architecture, one file each, named after it."""
