"""What tests of several folders share: leak checks, waiting for a condition. No tests here."""
