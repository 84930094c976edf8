"""Known vulnerable and malicious versions: OSV records read, stored parsed, and matched."""
