"""Which fruit is this? A page that takes a photograph and names the three most similar varieties of the published features."""
