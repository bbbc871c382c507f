"""The rules that come with the auditor, one module per failure mode."""
