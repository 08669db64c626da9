"""Meterstone on one machine: an embedded DynamoDB, and API Gateway's and Lambda's part in front of it."""
