"""``python -m gateway`` is the command ``remoting-gateway``."""

from gateway.command import main

if __name__ == "__main__":
    main()
