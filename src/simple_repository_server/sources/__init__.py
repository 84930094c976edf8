"""Where projects come from: other indexes, directories, memory."""
