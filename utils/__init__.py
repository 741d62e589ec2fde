"""Small helpers that the lessons teach and use. Importable from any folder after `make`."""
