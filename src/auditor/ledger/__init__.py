"""Who spent what: rows of calls and of tenants."""
