"""What the tests run against: real processes, each started by its test and ended by its process id."""
