"""Receives OTLP over HTTP on loopback while a command runs, and sets that command up to send there."""
