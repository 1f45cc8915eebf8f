/* ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), which cannot overflow; ln(1 + s) by Kahan's correction for what
   1 + s rounds away. */
static inline float sprue_softplusf(float value)
{
    const float small = sprue_expf(value < 0.0f ? value : -value);
    const float sum = 1.0f + small;
    const float tail = sum == 1.0f ? small : sprue_logf(sum) * (small / (sum - 1.0f));
    return (value > 0.0f ? value : 0.0f) + tail;
}
