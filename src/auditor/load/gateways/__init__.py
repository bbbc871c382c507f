"""Gateway logs and provider records: one module for each system."""
