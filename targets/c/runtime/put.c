/* A word of two 16-bit numbers to where they are neighbours. */
static inline void sprue_put(int16_t *pair, uint32_t word)
{
    __builtin_memcpy(pair, &word, sizeof word);
}
