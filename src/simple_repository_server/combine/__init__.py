"""Several repositories as one."""
