"""What ``start_all_services.py`` is made of. Standard library only: it runs before anything is installed."""
