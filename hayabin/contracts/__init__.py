"""The only contracts between the services: code generated from ``proto/`` (by ``make proto``) and its codec."""
