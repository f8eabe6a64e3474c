"""The commands of the command line, a module each; with cli.py the only code that prints."""
