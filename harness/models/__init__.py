"""Opened models, their sites, and representations placed at those sites.

References enter; models without weights and placed representations leave."""
