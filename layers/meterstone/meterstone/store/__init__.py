"""The store: DynamoDB alone knows of this room, and it knows nothing of prices.

StoreError
├── StoreUnavailableError      the table could not be reached or is throttled; the same call may succeed later
│   ├── PassingError           one attempt failed; the store makes further ones by itself, while there is time
│   ├── StoredFormatError      an organization is stored in another format than this code's
│   └── CatalogueChangedError  another catalogue was stored while events were counted; they must be matched again
├── ConflictError              a condition of a transaction did not hold; nothing was written
├── WriteRefusedError          the table will never take this write
├── UnreadableItemError        an item of the log cannot be read; the message is for a person
├── BusyError                  something else must be done, or be over, first; the message is for a person
├── UnknownSubscriptionError   the organization has no such subscription
└── ViewNotBuiltError          only a rebuild can fill the view that would answer
"""

from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.subscriptions import UnknownSubscriptionError
from meterstone.store.dynamodb.errors import ConflictError, StoreError, StoreUnavailableError

__all__ = [
    "Account",
    "ConflictError",
    "StoreError",
    "StoreUnavailableError",
    "UnknownSubscriptionError",
]
