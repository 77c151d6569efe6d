// Blocks of memory by number, as a system gives out descriptors: the lowest free number first, so a number that was
// given back is soon another block's. Every malloc and free is counted, and the counts are printed when the process ends.
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  char *start;
  size_t size;
} block_t;

static block_t *blocks;
static uint32_t places;
static uint32_t lowest;
static uint64_t mallocs;
static uint64_t frees;
static uint64_t bytes;

static napi_value fail(napi_env env, const char *message) {
  napi_throw_error(env, "ERR_BLOCK", message);
  return NULL;
}

static int32_t argument(napi_env env, napi_callback_info info) {
  napi_value given;
  size_t count = 1;
  int32_t number = -1;
  if (napi_get_cb_info(env, info, &count, &given, NULL, NULL) != napi_ok || count < 1) return -1;
  if (napi_get_value_int32(env, given, &number) != napi_ok) return -1;
  return number;
}

static block_t *find(int32_t number) {
  if (number < 0 || (uint32_t)number >= places || blocks[number].start == NULL) return NULL;
  return &blocks[number];
}

/* allocate(size): the number of a new block, filled with the low byte of its number. */
static napi_value allocate(napi_env env, napi_callback_info info) {
  int32_t size = argument(env, info);
  if (size <= 0) return fail(env, "Cannot allocate a block: its size must be positive");
  while (lowest < places && blocks[lowest].start != NULL) lowest++;
  if (lowest == places) {
    uint32_t grown = places == 0 ? 64 : places * 2;
    block_t *moved = realloc(blocks, grown * sizeof(block_t));
    if (moved == NULL) return fail(env, "Cannot allocate a block: out of memory");
    memset(moved + places, 0, (grown - places) * sizeof(block_t));
    blocks = moved;
    places = grown;
  }
  char *start = malloc((size_t)size);
  if (start == NULL) return fail(env, "Cannot allocate a block: out of memory");
  memset(start, (int)(lowest & 0xff), (size_t)size);
  blocks[lowest].start = start;
  blocks[lowest].size = (size_t)size;
  mallocs++;
  bytes += (uint64_t)size;
  napi_value number;
  napi_create_uint32(env, lowest, &number);
  return number;
}

/* release(number): frees the block. */
static napi_value release(napi_env env, napi_callback_info info) {
  int32_t number = argument(env, info);
  block_t *block = find(number);
  if (block == NULL) return fail(env, "Cannot release a block: no block has this number");
  free(block->start);
  bytes -= block->size;
  block->start = NULL;
  frees++;
  if ((uint32_t)number < lowest) lowest = (uint32_t)number;
  return NULL;
}

/* read(number): the last byte of the block. */
static napi_value read_last(napi_env env, napi_callback_info info) {
  block_t *block = find(argument(env, info));
  if (block == NULL) return fail(env, "Cannot read a block: no block has this number");
  napi_value byte;
  napi_create_uint32(env, (uint8_t)block->start[block->size - 1], &byte);
  return byte;
}

static void set(napi_env env, napi_value object, const char *name, uint64_t value) {
  napi_value number;
  napi_create_double(env, (double)value, &number);
  napi_set_named_property(env, object, name, number);
}

/* counts(): what was allocated and freed so far. */
static napi_value counts(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value object;
  napi_create_object(env, &object);
  set(env, object, "mallocs", mallocs);
  set(env, object, "frees", frees);
  set(env, object, "bytes", bytes);
  return object;
}

static void at_exit(void *data) {
  (void)data;
  printf("at exit: %llu blocks and %llu bytes were not freed\n", (unsigned long long)(mallocs - frees),
         (unsigned long long)bytes);
  fflush(stdout);
}

static napi_value init(napi_env env, napi_value exports) {
  napi_property_descriptor functions[] = {
      {"allocate", NULL, allocate, NULL, NULL, NULL, napi_enumerable, NULL},
      {"release", NULL, release, NULL, NULL, NULL, napi_enumerable, NULL},
      {"read", NULL, read_last, NULL, NULL, NULL, napi_enumerable, NULL},
      {"counts", NULL, counts, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  napi_define_properties(env, exports, sizeof(functions) / sizeof(functions[0]), functions);
  napi_add_env_cleanup_hook(env, at_exit, NULL);
  return exports;
}

NAPI_MODULE(blocks, init)
