"""The engine: every answer and every likelihood that mnatune computes in its own process comes from here."""
