"""The command line: arguments in, exit code out; one module per family of commands, no logic of its own."""
