/* The integer nearest to sum / count, halves away from zero. */
static inline int32_t sprue_mean(int32_t sum, int32_t count)
{
    return (sum < 0 ? sum - count / 2 : sum + count / 2) / count;
}
