/* ln(1 + x) to full precision near 0: what adding 1 loses is put back by a factor (Kahan, HP-15C manual). */
static inline float sprue_log1pf(float value)
{
    const float sum = 1.0f + value;
    if (sum == 1.0f) {
        return value;
    }
    return sum > 3.0e38f ? sprue_logf(sum) : sprue_logf(sum) * (value / (sum - 1.0f));
}
