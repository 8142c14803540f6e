from rest_framework.routers import SimpleRouter

from benchmarks.plain.views import PlainEventViewSet

router = SimpleRouter(trailing_slash=False)
router.register("events", PlainEventViewSet)
urlpatterns = router.urls
