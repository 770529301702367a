"""Shows what was measured: tables for the terminal, and tables and plots for a README."""
