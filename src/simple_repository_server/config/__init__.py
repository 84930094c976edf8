"""The settings of the command: arguments and environment variables, validated and typed."""
