/** A script and the SHA-1 of its source, which is how a server that has it is asked to run it. */
export interface Script {
  readonly source: string;
  readonly sha: string;
  /** Which of the words of its command is the time to live that it asks for. */
  readonly ttlAt?: number;
}

/**
 * What a script that asks whether the key is ours ends with if it is not. Only a key of another type is no fault: where
 * the user may not read it, nobody knows whose it is.
 */
const NOT_OURS = `if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE') then return held end
return 0`;

/**
 * Takes the key, unless somebody has it, and the next fence with it.
 *
 * KEYS: lock, fence. ARGV: token, ttl, and where they are wanted: the fence's own ttl or 0, "1" to take the key from
 * whoever has it. Every word costs, and most bids want neither.
 * Returns {1, fence}, or {0, what the holder has left}. A key that is ours already is taken: the client sent this twice.
 *
 * A counter that is not there begins at the server's clock in microseconds: after a FLUSHALL, a restart without
 * persistence or the end of a bounded counter, fences still go up.
 */
export const ACQUIRE: Script = {
  source: `local taken
if ARGV[4] == '1' then taken = redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else taken = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) end
if not taken and redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return {0, redis.call('PTTL', KEYS[1])} end
local fence = redis.pcall('INCR', KEYS[2])
if type(fence) == 'table' then redis.call('DEL', KEYS[1]) return fence end
if fence == 1 then
  local time = redis.pcall('TIME')
  if time.err then redis.call('DEL', KEYS[1], KEYS[2]) return time end
  fence = time[1] * 1000000 + time[2]
  redis.call('SET', KEYS[2], string.format('%.0f', fence))
end
if ARGV[3] and ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
return {1, fence}`,
  sha: "800ea141368f46101ba2b67fa57788d45eedecaa",
  ttlAt: 6,
};

/**
 * Looks at a key that was not to be had: -3 if it is ours after all (the client sent the command twice), else what the
 * holder has left. KEYS: lock. ARGV: token.
 */
export const LOOK: Script = {
  source: `if redis.pcall('GET', KEYS[1]) == ARGV[1] then return -3 end return redis.call('PTTL', KEYS[1])`,
  sha: "054f178effa58d2fb102d74fa91e78044a5566c3",
};

/**
 * Raises the counter to the highest fence that a majority gave, while the key is still ours.
 *
 * KEYS: lock, fence. ARGV: token, fence, the fence's own ttl or 0.
 */
export const RAISE: Script = {
  source: `local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] then
  if tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
  if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
  return 1
end
${NOT_OURS}`,
  sha: "945991de875de1bb56814126abaf839c9d706f91",
};

/** Gives the key its time again while it is ours. A key of another type is not ours. KEYS: lock. ARGV: token, ttl. */
export const EXTEND: Script = {
  source: `local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
${NOT_OURS}`,
  sha: "e67b698247bb2ea5da97fbc8786b1ab3e187497c",
  ttlAt: 5,
};

/** Deletes the key while it is ours. KEYS: lock. ARGV: token. */
export const RELEASE: Script = {
  source: `local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] then return redis.call('DEL', KEYS[1]) end
${NOT_OURS}`,
  sha: "c4e7eac6a2ed880299a34f52efb6b5e73b551722",
};
