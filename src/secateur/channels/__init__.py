"""Which channels move together: labels ridden through one run of the network on shapes."""
