"""Schema migrations, oldest first in `versions/`, each applied once; never changed later."""
