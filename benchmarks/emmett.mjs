// Emmett's PostgreSQL event store, one event an append: node emmett.mjs URL CLIENTS SECONDS SIZE
// Prints appends a second. Run where @event-driven-io/emmett-postgresql is installed.
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';

const [url, clients, seconds, size] = process.argv.slice(2);
const store = getPostgreSQLEventStore(url);
await store.schema.migrate();
const event = { type: 'MessageReceived', data: { content: 'x'.repeat(Number(size)) } };
const began = performance.now();
const end = began + Number(seconds) * 1000;
let count = 0;

async function client(number) {
  for (let n = 0; performance.now() < end; n++, count++) {
    await store.appendToStream(`chat-${number}-${n}`, [event], {
      expectedStreamVersion: 'STREAM_DOES_NOT_EXIST',
    });
  }
}

await Promise.all(Array.from({ length: Number(clients) }, (_, number) => client(number)));
console.log(count / ((performance.now() - began) / 1000));
await store.close();
