"""DVC's graph and cache, safe against kills, power cuts and rot; what git names."""
