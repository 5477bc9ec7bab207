//! Command-line clients: publish and subscribe.
