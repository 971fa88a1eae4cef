"""Programs that look at a master, or do its work for others. No part of it."""
