"""asyncpg: the binary extended protocol, prepared statements, cursors and its reset between uses of a pool."""
import asyncio
import sys

import asyncpg

host, port = sys.argv[1].rsplit(":", 1)


async def main():
    async with asyncpg.create_pool(host=host, port=int(port), user="analyst", database="tollgate", min_size=1, max_size=2) as pool:
        for _ in range(3):
            assert await pool.fetchval("SELECT count(*) FROM requests") >= 5
        row = await pool.fetchrow(
            "SELECT time, source, status, duration_us, policies FROM requests WHERE destination = $1 AND status = $2 LIMIT 1",
            "shop/catalog",
            200,
        )
        assert row["source"] == "shop/a" and row["policies"] == ["all"] and row["time"].tzinfo is not None, row
        async with pool.acquire() as connection, connection.transaction():
            seen = 0
            async for _ in connection.cursor("SELECT time FROM requests LIMIT 5", prefetch=2):
                seen += 1
            assert seen == 5, seen
        try:
            await pool.fetch("SELECT nope FROM requests")
            raise AssertionError("a column that does not exist was answered")
        except asyncpg.UndefinedColumnError:
            pass


asyncio.run(main())
print("ok")
