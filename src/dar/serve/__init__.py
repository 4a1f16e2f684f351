"""A server of images: one engine that generates for all clients together, and OpenAI's image API in front of it."""
