"""Who answers a task: claims in Redis, so that no task gets the same prediction twice.

Label Studio asks for predictions when a button is pressed, when a task is opened and when a page is listed, and workers
import predictions of their own. Whoever wants to answer a task for a model version claims it first; a claim is set in
one atomic step, so of several askers exactly one gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geolabel.errors import QueueError

if TYPE_CHECKING:
    import redis

#: A queued task stays claimed until its job releases it, at most this long.
QUEUED_S = 6 * 3600
#: After an answer to Label Studio it takes a while until the prediction is stored there.
ANSWERED_S = 150


class Claims:
    """Claims on the tasks of one project and model version.

    Args:
        connection: Redis client.
        prefix: Start of the keys.
        project_id: Of Label Studio.
        version: Model version.
    """

    def __init__(self, connection: redis.Redis, prefix: str, project_id: str, version: str) -> None:
        self._redis = connection
        self._start = f"{prefix}:claim:{project_id}:{version}:"

    def take(self, task_ids: Sequence[int], owner: str, seconds: int) -> set[int]:
        """Claim tasks and return those that were free or are this owner's already.

        Raises:
            QueueError: Redis does not answer.
        """
        if not task_ids:
            return set()
        try:
            with self._redis.pipeline(transaction=False) as batch:
                for task_id in task_ids:
                    batch.set(self._key(task_id), owner, nx=True, ex=seconds)
                set_now = batch.execute()
            owners = self._redis.mget([self._key(task_id) for task_id in task_ids])
        except Exception as error:
            raise self._failure(error) from error
        wanted = owner.encode()
        return {
            task_id
            for task_id, done, holder in zip(task_ids, set_now, owners, strict=True)
            if done or holder in (wanted, owner)
        }

    def hold(self, task_ids: Sequence[int], owner: str, seconds: int) -> None:
        """Set the owner and the time of claims that the caller has, whatever they were."""
        if not task_ids:
            return
        try:
            with self._redis.pipeline(transaction=False) as batch:
                for task_id in task_ids:
                    batch.set(self._key(task_id), owner, ex=seconds)
                batch.execute()
        except Exception as error:
            raise self._failure(error) from error

    def release(self, task_ids: Sequence[int]) -> None:
        """Give claims back."""
        if not task_ids:
            return
        try:
            self._redis.delete(*(self._key(task_id) for task_id in task_ids))
        except Exception as error:
            raise self._failure(error) from error

    def owners(self, task_ids: Sequence[int]) -> dict[int, str]:
        """Return who holds which task; free ones are left out."""
        if not task_ids:
            return {}
        try:
            found = self._redis.mget([self._key(task_id) for task_id in task_ids])
        except Exception as error:
            raise self._failure(error) from error
        return {
            task_id: holder.decode() if isinstance(holder, bytes) else str(holder)
            for task_id, holder in zip(task_ids, found, strict=True)
            if holder is not None
        }

    def _key(self, task_id: int) -> str:
        return f"{self._start}{task_id}"

    @staticmethod
    def _failure(error: Exception) -> Exception:
        import redis as redis_package

        if isinstance(error, redis_package.RedisError):
            return QueueError(f"Redis does not answer ({type(error).__name__}); start it, or set REDIS_URL")
        return error
