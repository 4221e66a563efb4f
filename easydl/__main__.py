"""``python -m easydl`` is the command ``easydl``."""

from easydl.cli import main

if __name__ == "__main__":
    main()
