"""What Nexus says about itself: metrics, statistics, health, logs and the live feed."""
