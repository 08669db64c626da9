"""The store: DynamoDB alone knows of this room, and it knows nothing of prices.

StoreError
├── StoreUnavailable      the table could not be reached or is throttled; the same call may succeed later
├── Conflict              a condition of a transaction did not hold; nothing was written
├── Refused               the table will not take it, however often it is asked
├── Busy                  something else must be done first, or be over; for those who run commands
└── UnknownSubscription   the organization has no such subscription
"""

from meterstone.store.catalogue.records import Account, UnknownSubscription
from meterstone.store.dynamodb.table import Conflict, StoreError, StoreUnavailable
from meterstone.store.reading.usage import Store

__all__ = ["Account", "Conflict", "Store", "StoreError", "StoreUnavailable", "UnknownSubscription"]
