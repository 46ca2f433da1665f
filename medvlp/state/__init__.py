"""What lives across steps: teachers that follow or stand still, clusters, queues, prototypes of findings."""
