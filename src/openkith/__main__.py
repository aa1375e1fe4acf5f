"""``python -m openkith``: the command ``kith``."""

from openkith.cli import main

if __name__ == "__main__":
    main()
