"""`python -m simple_repository_server` is the command, too."""

from simple_repository_server.cli.main import main

if __name__ == "__main__":
    main()
