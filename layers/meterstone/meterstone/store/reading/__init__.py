"""Reading for the two usage endpoints: states and published days, and until when they have counted."""
