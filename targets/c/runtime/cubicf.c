/* What a neighbour at this distance (0 to 2) counts: Keys' cubic convolution with a = -0.75. */
static inline float sprue_cubicf(float distance)
{
    if (distance < 1.0f) {
        return (1.25f * distance - 2.25f) * distance * distance + 1.0f;
    }
    return ((-0.75f * distance + 3.75f) * distance - 6.0f) * distance + 3.0f;
}
