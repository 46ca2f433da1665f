"""``python -m medvlp`` is the command ``medvlp``."""

from medvlp.cli.main import main

if __name__ == "__main__":
    main()
