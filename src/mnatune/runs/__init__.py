"""How a run is described (recipe), ordered (journey) and kept on disk (workspace, records)."""
