"""The price of proxied HTTP requests, beside nginx, HAProxy and mitmproxy in the same run."""
