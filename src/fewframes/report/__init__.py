"""What people look at: tables, JSON, plots, pages."""
