"""What is law: statutes and their versions, the names they go by, decisions, and what cites them."""
